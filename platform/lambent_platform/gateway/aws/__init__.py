"""AWS's protocols, driven by botocore's service models: from a request to a function's parameters, and back."""
