"""The data channel between the master and its children: frames, codec, both ends."""
