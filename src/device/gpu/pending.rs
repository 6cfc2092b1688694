//! Steps that wait to be submitted together, and what is read back.

use std::mem;
use std::sync::mpsc;

use bytemuck::Pod;

use super::{Gpu, Step, encode};
use crate::error::{Error, Result};

/// Steps of stages that a GPU was not given yet: those of a search go there together. The CPU engine leaves none.
#[derive(Debug, Default)]
pub(crate) struct Pending(Vec<Step>);

/// A buffer, and how many of its words are read.
pub(super) type Words<'a> = (&'a wgpu::Buffer, usize);

impl Pending {
    pub fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    /// Where launchers put their steps to have them wait here.
    pub fn sink(&mut self) -> impl FnMut(&'static str, Vec<Step>) -> Result<()> {
        |_, steps| {
            self.0.extend(steps);
            Ok(())
        }
    }

    /// The same for steps that come run by run: those of the last wait here, so that a GPU works on one run while the
    /// host plans the next.
    pub fn runs(&mut self, gpu: &Gpu) -> impl FnMut(&'static str, Vec<Step>) -> Result<()> {
        let mut begun = false;
        move |label, steps| {
            if mem::replace(&mut begun, true) {
                self.submit(gpu, label)?;
            }
            self.0.extend(steps);
            Ok(())
        }
    }

    /// Submits the steps.
    pub fn submit(&mut self, gpu: &Gpu, label: &'static str) -> Result<()> {
        let steps = mem::take(&mut self.0);
        if steps.is_empty() { Ok(()) } else { gpu.submit(label, &steps) }
    }

    /// Submits the steps, and reads back what they leave in `buffers`: all in one submission.
    pub fn read<const N: usize>(
        &mut self,
        gpu: &Gpu,
        label: &'static str,
        buffers: [Words<'_>; N],
    ) -> Result<[Vec<u32>; N]> {
        let total = buffers.iter().map(|(_, words)| words).sum::<usize>();
        if total == 0 {
            self.submit(gpu, label)?;
            return Ok([const { Vec::new() }; N]);
        }
        let steps = mem::take(&mut self.0);
        let staging = gpu.staging(4 * total as u64)?;
        let copied = gpu.run(label, |encoder| {
            encode(encoder, label, &steps);
            let mut at = 0;
            for (buffer, words) in buffers.into_iter().filter(|(_, words)| *words > 0) {
                let bytes = 4 * words as u64;
                encoder.copy_buffer_to_buffer(buffer, 0, &staging, at, bytes);
                at += bytes;
            }
        })?;
        let mut words = gpu.read::<u32>(&staging, copied, total)?.into_iter();
        Ok(buffers.map(|(_, count)| words.by_ref().take(count).collect()))
    }
}

/// Words read back as floats.
pub(super) fn floats(words: Vec<u32>) -> Vec<f32> {
    words.into_iter().map(f32::from_bits).collect()
}

impl Gpu {
    /// A buffer to read so many bytes back through.
    fn staging(&self, bytes: u64) -> Result<wgpu::Buffer> {
        self.guarded("download", || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("download"),
                size: bytes.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })
    }

    /// Reads `len` values back: waits for what was submitted before.
    pub fn download<T: Pod>(&self, buffer: &wgpu::Buffer, len: usize) -> Result<Vec<T>> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let bytes = (len * size_of::<T>()) as u64;
        let staging = self.staging(bytes)?;
        let copied =
            self.run("download", |encoder| encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, staging.size()))?;
        self.read(&staging, copied, len)
    }

    /// Reads the first `len` values of a buffer that can be mapped, once a submission is through.
    pub fn read<T: Pod>(
        &self,
        staging: &wgpu::Buffer,
        submission: wgpu::SubmissionIndex,
        len: usize,
    ) -> Result<Vec<T>> {
        let bytes = (len * size_of::<T>()) as u64;
        let (sender, receiver) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |mapped| {
            let _ = sender.send(mapped);
        });
        self.wait(submission)?;
        let unmapped = |message: String| Error::refused("download", message);
        // Where several threads wait, any of them may be the one that runs this callback, a little later than we ask.
        match receiver.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(unmapped(error.to_string())),
            Err(error) => return Err(unmapped(error.to_string())),
        }
        let view = staging.get_mapped_range(..bytes).map_err(|error| unmapped(error.to_string()))?;
        // A mapping is aligned for any plain type in practice, but nothing promises it: copy bytes.
        let mut values = vec![T::zeroed(); len];
        bytemuck::cast_slice_mut::<T, u8>(&mut values).copy_from_slice(&view);
        drop(view);
        staging.unmap();
        Ok(values)
    }
}
