//! What an engine caches with data: made when it is first needed, of a type that this engine alone knows.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A place for one value of any type. The first that is put there stays.
#[derive(Clone, Default)]
pub(crate) struct EngineCache(OnceLock<Arc<dyn Any + Send + Sync>>);

impl EngineCache {
    /// A place that holds `value`.
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        let cache = Self::default();
        cache.set(Arc::new(value));
        cache
    }

    /// What is cached, where it is of this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.get()?.downcast_ref()
    }

    /// The same to hold on to.
    pub fn share<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.get()?.clone().downcast().ok()
    }

    /// Caches a value where there is none yet. Nothing is computed meanwhile.
    pub fn set<T: Any + Send + Sync>(&self, value: Arc<T>) {
        let _ = self.0.set(value);
    }

    /// Drops what was cached.
    pub fn clear(&mut self) {
        self.0.take();
    }
}

impl fmt::Debug for EngineCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "EngineCache(..)" } else { "EngineCache()" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_stays_and_other_types_find_none() {
        let mut cache = EngineCache::default();
        assert!(cache.get::<u32>().is_none());
        cache.set(Arc::new(1u32));
        cache.set(Arc::new(2u32));
        assert_eq!(
            (cache.get::<u32>(), cache.get::<u64>(), cache.clone().share::<u32>()),
            (Some(&1), None, Some(Arc::new(1)))
        );
        cache.clear();
        assert!(cache.get::<u32>().is_none());
    }
}
