"""Laws whose truth is known, corpora, exact sampling, and the exact Bayes answer."""
