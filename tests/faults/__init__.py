"""What the promises are worth when processes, connections and servers die."""
