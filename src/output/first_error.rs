//! A writer that fails at the end.

use std::io::{self, ErrorKind, Seek, SeekFrom, Write};

/// Keeps the first error and takes everything from then on, for writers of archives that otherwise go on to write when
/// they are dropped, and complain on stderr.
pub(crate) struct FirstError<W> {
    inner: W,
    at: u64,
    end: u64,
    error: Option<io::Error>,
}

impl<W> FirstError<W> {
    /// Writes to the empty `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, at: 0, end: 0, error: None }
    }

    /// Fails where something has failed.
    pub fn finish(self) -> io::Result<()> {
        self.error.map_or(Ok(()), Err)
    }

    /// What `result` has, or `otherwise` where that or something before it failed.
    fn kept<T>(&mut self, result: io::Result<T>, otherwise: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                self.error.get_or_insert(error);
                Ok(otherwise)
            }
            result => result,
        }
    }
}

impl<W: Write> Write for FirstError<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &self.error {
            Some(_) => Ok(bytes.len()),
            None => self.inner.write(bytes),
        };
        let is_full = matches!(written, Ok(0)) && !bytes.is_empty();
        let written = if is_full { Err(ErrorKind::WriteZero.into()) } else { written };
        let written = self.kept(written, bytes.len())?;
        self.at += written as u64;
        self.end = self.end.max(self.at);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = if self.error.is_some() { Ok(()) } else { self.inner.flush() };
        self.kept(flushed, ())
    }
}

impl<W: Seek> Seek for FirstError<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
        };
        let at = at.ok_or(ErrorKind::InvalidInput)?;
        let sought = if self.error.is_some() { Ok(at) } else { self.inner.seek(SeekFrom::Start(at)) };
        self.at = self.kept(sought, at)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_taken_and_the_first_error_kept() {
        let mut room = [0; 5];
        let mut writer = FirstError::new(io::Cursor::new(&mut room[..]));
        writer.write_all(b"abcd").unwrap();
        assert_eq!(writer.seek(SeekFrom::Current(-2)).unwrap(), 2);
        writer.write_all(b"CD").unwrap();
        writer.write_all(b"efgh").unwrap();
        assert_eq!((writer.seek(SeekFrom::End(0)).unwrap(), writer.stream_position().unwrap()), (8, 8));
        writer.flush().unwrap();
        assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::WriteZero);
        assert_eq!(&room, b"abCDe");
    }
}
