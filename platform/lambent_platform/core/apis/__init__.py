"""What may become of an API of API Gateway v2, and which of its routes a request takes. Pure."""
