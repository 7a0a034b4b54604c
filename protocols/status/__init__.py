"""The status service: its messages (status.proto) and how they travel.

``python -m grpc_tools.protoc -I protocols/status --python_out=protocols/status \
--pyi_out=protocols/status protocols/status/status.proto`` writes the two generated
files (grpcio-tools 1.81).
"""
