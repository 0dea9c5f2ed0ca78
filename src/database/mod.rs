//! The site's database: which one it is, its dump, and the way back (SPEC 7).

pub mod client;
pub mod dump;
pub mod load;
pub mod own;
pub mod script;
