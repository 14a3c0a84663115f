"""The Lambent platform: gateway, scheduler, builder, and the contracts and store that its roles share."""
