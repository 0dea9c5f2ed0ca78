//! Files: walked, compared, copied and listed in manifests, a directory at a time.

pub mod copy;
pub mod droppings;
pub mod listing;
pub mod manifest;
pub mod pairs;
pub mod remove;
pub mod replicate;
pub mod same;
pub mod stream;
pub mod verify;
pub mod walk;
