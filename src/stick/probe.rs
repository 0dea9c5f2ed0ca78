//! The superblock prober.
