"""The story that `make demo` tells, with real servers and real requests.

shelf     the example's versions, published one by one as a team would
clients   requests over gRPC and HTTP, and traffic that never pauses
cold      what a first user meets at a plain Triton
acts      what Pilotlight promises, act by act
proof     a claim, what was measured, and whether it held
story     the acts in order
"""
