//! The exchange with a stick (SPEC 6): one session from the proven stick to the released one, what is decided in it, and how a winner replaces a loser.

pub mod assess;
pub mod hooks;
pub mod overlay;
pub mod plan;
pub mod put_back_server;
pub mod put_back_stick;
pub mod replace;
pub mod session;
