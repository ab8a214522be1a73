"""Training on partially labelled datasets: what nnU-Net's trainer needs beside the network."""
