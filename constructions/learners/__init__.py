"""Learning algorithms carried out in context, each as explicit weights."""
