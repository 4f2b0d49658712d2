"""Makes bundles of models that others trained, at ``stenoflow bundle add``; nothing here runs while serving."""
