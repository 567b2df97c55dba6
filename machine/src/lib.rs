//! What this computer is, and how much of its memory is free now.
