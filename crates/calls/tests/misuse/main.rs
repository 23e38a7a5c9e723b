//! Misuse of the C API: every function of the header with everything that can be wrong with a call. Each answer is a status that is
//! documented, a refused call has written nothing, its message names what is wrong, and the library goes on working.
//!
//! Not here, since no library can see it: a pointer to memory that is not there, or is less than the call was told.

mod alone;
mod damage;
mod driver;
mod matrix;
mod states;
mod valid;
mod world;
