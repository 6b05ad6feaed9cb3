//! tmp
mod case; mod graph; mod ops;
#[test] fn t() { for c in case::read() { let (mut g, _a) = graph::Graph::new(&c); for n in &c.nodes { ops::lower(&mut g, n).unwrap(); } g.finish().unwrap(); } }
