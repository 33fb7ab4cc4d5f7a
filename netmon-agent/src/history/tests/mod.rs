mod fold;
mod kill;
mod store;
mod writer;
