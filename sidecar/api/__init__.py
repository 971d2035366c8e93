"""REST for operators. Desired state and requests come in; what is the case goes out."""
