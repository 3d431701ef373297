"""Networks: encoders, projectors, a decoder, batch normalisation over ranks and moving averages."""
