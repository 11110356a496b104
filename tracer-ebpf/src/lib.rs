//! What user space and the programs have in common. The programs themselves are
//! the binary target of this package.
#![no_std]

pub mod abi;
