//! WebSockets between executors.
