"""The story that `make demo` tells, with real servers and real requests.

shelf     the example's versions, published one by one as a team would
clients   requests over gRPC and HTTP, and traffic that goes on
stage     the running servers, and who asks them what
cold      what a first user meets at a plain Triton
first     what a first user meets here
acts      what is promised while traffic runs
proof     a claim, what was measured, and whether it held
story     the acts in order
"""
