"""What operators do to a deployment, tried: failover, restore, upgrade, scaling."""
