//! End to end, over the real parts: a real API server, a real PostgreSQL, our programs as processes, the model that
//! ships, and the vendors' own clients. Whether a picture is right is read from its pixels.

mod cluster;
mod faults;
mod front;
mod local;
mod support;
