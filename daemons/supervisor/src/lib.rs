//! kvmd-supervisor: brings the appliance up in order and keeps it honest.
