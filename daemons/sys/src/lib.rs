//! Linux calls std lacks, made safe.
