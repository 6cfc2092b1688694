//! Rayon's threads. Left to itself rayon panics inside the call that first needs them where the system gives none.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{env, io, thread};

use rayon::{ThreadBuilder, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// Makes rayon's global pool of as many threads as the system gives, up to the usual number; a host's own pool stays.
///
/// # Errors
/// [`Error::Threads`] where there are none. A later call tries again.
pub(crate) fn ready() -> Result<()> {
    static READY: OnceLock<()> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    // A thread of a pool has one.
    if READY.get().is_some() || rayon::current_thread_index().is_some() {
        return Ok(());
    }
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if READY.get().is_none() {
        start(wanted()).map_err(|source| Error::Threads { source })?;
        let _ = READY.set(());
    }
    Ok(())
}

/// As many threads as rayon would take.
fn wanted() -> usize {
    let named = env::var("RAYON_NUM_THREADS").ok().and_then(|number| number.parse().ok());
    named.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

/// Threads come first, and the pool is made of those that came: rayon tries once alone.
fn start(wanted: usize) -> io::Result<()> {
    let (mut waiting, mut refused) = (Vec::new(), None);
    while waiting.len() < wanted && refused.is_none() {
        match waiting_thread(waiting.len()) {
            Ok(thread) => waiting.push(thread),
            Err(error) => refused = Some(error),
        }
    }
    if let (true, Some(refused)) = (waiting.is_empty(), refused) {
        return Err(refused);
    }
    let (count, mut waiting) = (waiting.len(), waiting.into_iter());
    let hand_over = |worker| match waiting.next().map(|thread| thread.send(worker)) {
        Some(Ok(())) => Ok(()),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    };
    // It fails where the host has made the pool; the threads end then.
    let _ = ThreadPoolBuilder::new().num_threads(count).spawn_handler(hand_over).build_global();
    Ok(())
}

/// A thread that becomes the worker that it is sent.
fn waiting_thread(number: usize) -> io::Result<Sender<ThreadBuilder>> {
    let (give, take) = channel::<ThreadBuilder>();
    let work = move || {
        if let Ok(worker) = take.recv() {
            worker.run();
        }
    };
    thread::Builder::new().name(format!("rayon-{number}")).spawn(work).map(|_| give)
}
