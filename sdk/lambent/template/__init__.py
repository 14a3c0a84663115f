"""SAM templates: read, resolved, expanded to resources, compared with what is deployed, and carried out.

loading      text → tree, with the line of everything           parameters   the Parameters section
intrinsics   Ref, GetAtt, Sub, If …                             shapes       which properties a type has
expansion    AWS::Serverless::* → the resources behind them     graph        resources and their order
stack        all of the above: a file in, a `Stack` out         plan         what has to be done. Pure up to here
appliers     one for each type: read, create, update, delete    deploying    reads, plans, acts, keeps the record
"""
