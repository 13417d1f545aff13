"""What stage 2 makes and uses: rollouts, their packs, the numbers that they report."""
