//! The control side of the proxy on real servers: health, membership, comparison, recovery.

mod compare;
mod door;
mod membership;
mod recover;
mod restart;
mod servers;
