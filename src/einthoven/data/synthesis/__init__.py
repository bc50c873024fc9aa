"""The made-up ECGs: patients, their hearts, what electrodes pick up and what readers write."""
