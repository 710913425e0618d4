//! What a person or a program sees: progress bars, plain lines, JSON events, errors.
