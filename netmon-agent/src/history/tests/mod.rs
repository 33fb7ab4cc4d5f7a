mod fold;
mod kill;
mod machine;
mod store;
mod writer;
