//! What is attached where, and the proof that it reads this kernel rightly.

pub mod ask;
pub mod loader;
pub mod maps;
pub mod plan;
pub mod selfcheck;
pub mod steering;
