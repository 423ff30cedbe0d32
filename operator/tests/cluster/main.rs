//! The operator as a program, against a real API server, with workers that speak the protocol and draw nothing.

mod chores;
mod defaults;
mod ends;
mod happy;
mod leader;
mod memory;
mod models;
mod nodes;
mod pools;
mod preempt;
mod queues;
mod rights;
mod support;
mod unwell;
mod warm;
mod writer;
