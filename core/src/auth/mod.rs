//! Both sides of a login: a client's to us ([`login`]), ours to a node ([`dial`]). Entropy is an argument.
