//! faiss index files, in and out.
