"""How right a network is on labelled frames: trained weights, or the module that ships."""
