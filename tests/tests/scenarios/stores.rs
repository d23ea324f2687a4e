//! A worker's stores: sealing stores, attached stores, directories with pieces.

mod attached;
mod broken;
