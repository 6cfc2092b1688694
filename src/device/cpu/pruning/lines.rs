//! Numbers that start on a cache line: a vector register's worth of them never lies on two lines, which halves the speed of
//! storing.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

const LINE: usize = 64;

/// As a `Vec` of numbers, of which whole lines hold as many.
#[derive(Debug)]
pub(crate) struct Lines<T> {
    lines: Vec<Line>,
    length: usize,
    kind: PhantomData<T>,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), length: 0, kind: PhantomData }
    }
}

impl<T: Pod> Lines<T> {
    /// Cuts off what is too much, and fills up with zeros or what was there before.
    pub fn resize(&mut self, length: usize) {
        let lines = (length * size_of::<T>()).div_ceil(LINE);
        if lines > self.lines.len() {
            self.lines.resize(lines, Line::zeroed());
        }
        self.length = length;
    }

    pub fn capacity(&self) -> usize {
        self.lines.capacity() * LINE / size_of::<T>()
    }
}

impl<T: Pod> Deref for Lines<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines[..(self.length * size_of::<T>()).div_ceil(LINE)])[..self.length]
    }
}

impl<T: Pod> DerefMut for Lines<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines[..(self.length * size_of::<T>()).div_ceil(LINE)])[..self.length]
    }
}
