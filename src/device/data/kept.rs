//! What an engine keeps with data that it was given: made when it is first needed, and known to that engine alone.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A place for one value of any type. The first that is put there stays.
#[derive(Clone, Default)]
pub(crate) struct Kept(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Kept {
    /// A place that holds `value`.
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        let kept = Self::default();
        kept.set(Arc::new(value));
        kept
    }

    /// What is kept, where it is of this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.get()?.downcast_ref()
    }

    /// The same to hold on to.
    pub fn share<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.get()?.clone().downcast().ok()
    }

    /// Keeps a value where there is none yet. Nothing is computed meanwhile.
    pub fn set<T: Any + Send + Sync>(&self, value: Arc<T>) {
        let _ = self.0.set(value);
    }

    /// Forgets what was kept.
    pub fn clear(&mut self) {
        self.0.take();
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Kept(..)" } else { "Kept()" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_stays_and_other_types_find_none() {
        let mut kept = Kept::default();
        assert!(kept.get::<u32>().is_none());
        kept.set(Arc::new(1u32));
        kept.set(Arc::new(2u32));
        assert_eq!(
            (kept.get::<u32>(), kept.get::<u64>(), kept.clone().share::<u32>()),
            (Some(&1), None, Some(Arc::new(1)))
        );
        kept.clear();
        assert!(kept.get::<u32>().is_none());
    }
}
