//! Client of the netmon agent.
