rm -rf "$OLD"
