"""Every board under a tracker's key, side by side: work handed out, lost, hung and slow boards noticed."""
