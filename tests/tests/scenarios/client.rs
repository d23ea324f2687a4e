//! What a program of somebody else does with the client.

mod examples;
