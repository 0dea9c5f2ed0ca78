//! The site's database: which one it is, its dump, and the way back (SPEC 7).

mod aside;
pub mod client;
pub mod counts;
pub mod dump;
pub mod entries;
mod failing;
pub mod load;
mod options;
pub mod own;
mod roles;
mod server;
mod settings;
mod sql;
