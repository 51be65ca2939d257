//! The MUSTs of the OCI runtime specification as black-box tests.
