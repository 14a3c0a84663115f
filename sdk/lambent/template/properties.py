"""The properties of every type that templates may have here.

Sources: AWS CloudFormation Template Reference for `AWS::*`, AWS SAM Developer Guide for `AWS::Serverless::*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lambent.template.shapes import (
    ANY,
    BOOLEAN,
    INTEGER,
    JSON_TEXT,
    TAG_LIST,
    TEXT,
    TEXT_MAP,
    TEXTS,
    Either,
    ListOf,
    MapOf,
    Noted,
    Refused,
    Shape,
)

_NOT_ENFORCED: Final = Noted("accepted, not enforced")
_NO_IMAGES: Final = Refused("container-image functions are not served here")
_NO_LAYERS: Final = Refused("layers are not served here: put what they hold into the function's own folder")
_NO_AUTH: Final = Refused("authorizers are not served here; without one everybody may call it")
_DESTINATION: Final = Shape({"Destination": TEXT})
_DEAD_LETTER: Final = Shape({"TargetArn": TEXT}, ("TargetArn",))
_ARN_DEAD_LETTER: Final = Shape({"Arn": TEXT}, ("Arn",))
_RETRY: Final = Shape({"MaximumEventAgeInSeconds": INTEGER, "MaximumRetryAttempts": INTEGER})
_ENVIRONMENT: Final = Shape({"Variables": TEXT_MAP})
_EPHEMERAL: Final = Shape({"Size": INTEGER}, ("Size",))
_FILTERS: Final = Shape({"Filters": ListOf(Shape({"Pattern": JSON_TEXT}))})
CORS: Final = Either(
    Shape(
        {
            "AllowCredentials": BOOLEAN, "AllowHeaders": TEXTS, "AllowMethods": TEXTS, "AllowOrigins": TEXTS,
            "ExposeHeaders": TEXTS, "MaxAge": INTEGER,
        }
    )
)  # fmt: skip
_LOGGING: Final = Shape({"LogFormat": TEXT, "ApplicationLogLevel": TEXT, "SystemLogLevel": TEXT, "LogGroup": TEXT})

_FUNCTION_COMMON: Final[Mapping[str, Any]] = {
    "FunctionName": TEXT,
    "Description": TEXT,
    "Runtime": TEXT,
    "Handler": TEXT,
    "MemorySize": INTEGER,
    "Timeout": INTEGER,
    "EphemeralStorage": _EPHEMERAL,
    "Architectures": TEXTS,
    "Environment": _ENVIRONMENT,
    "ReservedConcurrentExecutions": INTEGER,
    "LoggingConfig": _LOGGING,
    "RecursiveLoop": TEXT,
    "Role": _NOT_ENFORCED,
    "VpcConfig": _NOT_ENFORCED,
    "KmsKeyArn": _NOT_ENFORCED,
    "CodeSigningConfigArn": _NOT_ENFORCED,
    "SnapStart": Noted("accepted, without effect"),
    "RuntimeManagementConfig": Noted("accepted, without effect"),
    "Layers": _NO_LAYERS,
    "ImageConfig": _NO_IMAGES,
    "PackageType": Refused("container-image functions are not served here", (None, "Zip")),
    "FileSystemConfigs": Refused("network file systems are not served here"),
    "DurableConfig": Refused("durable functions are not served here"),
    "CapacityProviderConfig": Refused("capacity providers are not served here"),
    "TenancyConfig": Refused("tenant isolation is not served here"),
}

EVENT_INVOKE: Final[Mapping[str, Any]] = {"MaximumEventAgeInSeconds": INTEGER, "MaximumRetryAttempts": INTEGER}
_SAM_DESTINATION: Final = Shape({"Type": TEXT, "Destination": TEXT})

SAM_FUNCTION: Final = Shape(
    {
        **_FUNCTION_COMMON,
        "CodeUri": Either(Shape({"Bucket": TEXT, "Key": TEXT, "Version": TEXT}, ("Bucket", "Key"))),
        "InlineCode": TEXT,
        "ImageUri": _NO_IMAGES,
        "Tags": TEXT_MAP,
        "PropagateTags": Noted("accepted, without effect"),
        "Policies": _NOT_ENFORCED,
        "AssumeRolePolicyDocument": _NOT_ENFORCED,
        "PermissionsBoundary": _NOT_ENFORCED,
        "RolePath": _NOT_ENFORCED,
        "Tracing": Noted("accepted, without effect"),
        "DeadLetterQueue": Shape({"Type": TEXT, "TargetArn": TEXT}, ("TargetArn",)),
        "EventInvokeConfig": Shape(
            {
                **EVENT_INVOKE,
                "DestinationConfig": Shape({"OnSuccess": _SAM_DESTINATION, "OnFailure": _SAM_DESTINATION}),
            }
        ),
        "ProvisionedConcurrencyConfig": Noted("accepted, without effect"),
        "AutoPublishAlias": TEXT,
        "AutoPublishAliasAllProperties": Noted("a version is published whenever anything of the function changes"),
        "AutoPublishCodeSha256": Noted("accepted, without effect"),
        "DeploymentPreference": Noted("accepted; the alias moves at once"),
        "VersionDescription": TEXT,
        "VersionDeletionPolicy": Noted("accepted, without effect"),
        "FunctionUrlConfig": Shape({"AuthType": TEXT, "Cors": CORS.shape, "InvokeMode": TEXT}, ("AuthType",)),
        "SourceKMSKeyArn": _NOT_ENFORCED,
        "Events": MapOf(Shape({"Type": TEXT, "Properties": ANY}, ("Type",))),
    }
)

_SQS_EVENT: Final = Shape(
    {
        "Queue": TEXT,
        "BatchSize": INTEGER,
        "Enabled": BOOLEAN,
        "FilterCriteria": _FILTERS,
        "FunctionResponseTypes": TEXTS,
        "KmsKeyArn": _NOT_ENFORCED,
        "MaximumBatchingWindowInSeconds": INTEGER,
        "MetricsConfig": Noted("accepted, without effect"),
        "ProvisionedPollerConfig": Noted("accepted, without effect"),
        "ScalingConfig": Shape({"MaximumConcurrency": INTEGER}),
    },
    ("Queue",),
)
_TRANSFORMER: Final = Shape({"InputPathsMap": TEXT_MAP, "InputTemplate": TEXT}, ("InputTemplate",))
_SAM_DLQ: Final = Shape({"Arn": TEXT, "Type": TEXT, "QueueLogicalId": TEXT})
SAM_EVENTS: Final[Mapping[str, Shape]] = {
    "SQS": _SQS_EVENT,
    "HttpApi": Shape(
        {
            "ApiId": TEXT,
            "Path": TEXT,
            "Method": TEXT,
            "PayloadFormatVersion": TEXT,
            "TimeoutInMillis": INTEGER,
            "Auth": Shape(
                {
                    "Authorizer": Refused("authorizers are not served here; NONE is", (None, "NONE")),
                    "AuthorizationScopes": _NO_AUTH,
                    "OverrideApiAuth": Noted("accepted, without effect"),
                }
            ),
            "RouteSettings": Noted("accepted, not enforced"),
        }
    ),
    "Api": Shape(
        {
            "RestApiId": TEXT,
            "Path": TEXT,
            "Method": TEXT,
            "TimeoutInMillis": INTEGER,
            "Auth": Shape(
                {
                    "Authorizer": Refused("authorizers are not served here; NONE is", (None, "NONE")),
                    "ApiKeyRequired": Refused("API keys are not served here"),
                    "AuthorizationScopes": _NO_AUTH,
                    "InvokeRole": _NOT_ENFORCED,
                    "ResourcePolicy": Refused("resource policies of APIs are not served here"),
                    "OverrideApiAuth": Noted("accepted, without effect"),
                }
            ),
            "RequestModel": Refused("request validation is not served here"),
            "RequestParameters": Refused("request validation is not served here"),
            "ResponseTransferMode": Refused("streamed responses are served by function URLs", (None, "BUFFERED")),
        },
        ("Path", "Method"),
    ),
    "Schedule": Shape(
        {
            "Schedule": TEXT,
            "Name": TEXT,
            "Description": TEXT,
            "Enabled": BOOLEAN,
            "State": TEXT,
            "Input": TEXT,
            "DeadLetterConfig": _SAM_DLQ,
            "RetryPolicy": _RETRY,
            "RoleArn": _NOT_ENFORCED,
        },
        ("Schedule",),
    ),
    "EventBridgeRule": Shape(
        {
            "Pattern": JSON_TEXT,
            "EventBusName": Refused("event buses are not served here", (None, "default")),
            "RuleName": TEXT,
            "State": TEXT,
            "Input": TEXT,
            "InputPath": TEXT,
            "InputTransformer": _TRANSFORMER,
            "Target": Shape({"Id": TEXT}, ("Id",)),
            "DeadLetterConfig": _SAM_DLQ,
            "RetryPolicy": _RETRY,
        },
        ("Pattern",),
    ),
    "CloudWatchEvent": Shape(
        {
            "Pattern": JSON_TEXT,
            "EventBusName": Refused("event buses are not served here", (None, "default")),
            "Enabled": BOOLEAN,
            "State": TEXT,
            "Input": TEXT,
            "InputPath": TEXT,
        },
        ("Pattern",),
    ),
    "ScheduleV2": Shape(
        {
            "ScheduleExpression": TEXT,
            "ScheduleExpressionTimezone": TEXT,
            "Name": TEXT,
            "OmitName": BOOLEAN,
            "GroupName": TEXT,
            "Description": TEXT,
            "State": TEXT,
            "StartDate": TEXT,
            "EndDate": TEXT,
            "FlexibleTimeWindow": Shape({"Mode": TEXT, "MaximumWindowInMinutes": INTEGER}, ("Mode",)),
            "Input": TEXT,
            "DeadLetterConfig": _SAM_DLQ,
            "RetryPolicy": _RETRY,
            "RoleArn": _NOT_ENFORCED,
            "PermissionsBoundary": _NOT_ENFORCED,
            "KmsKeyArn": _NOT_ENFORCED,
        },
        ("ScheduleExpression",),
    ),
}
_HTTP_API_COMMON: Final[Mapping[str, Any]] = {
    "Auth": Shape(
        {
            "Authorizers": _NO_AUTH,
            "DefaultAuthorizer": Refused("authorizers are not served here", (None, "NONE")),
            "EnableIamAuthorizer": _NO_AUTH,
        }
    ),
    "AccessLogSettings": Noted("accepted, without effect"),
    "DefaultRouteSettings": _NOT_ENFORCED,
    "RouteSettings": _NOT_ENFORCED,
    "Domain": Refused("domains of one's own are not served here"),
    "StageVariables": TEXT_MAP,
    "Tags": TEXT_MAP,
    "PropagateTags": Noted("accepted, without effect"),
}
SAM_HTTP_API: Final = Shape(
    {
        **_HTTP_API_COMMON,
        "Name": TEXT,
        "Description": TEXT,
        "StageName": TEXT,
        "CorsConfiguration": ANY,
        "DisableExecuteApiEndpoint": BOOLEAN,
        "FailOnWarnings": Noted("accepted, without effect"),
        "DefinitionBody": Refused("OpenAPI definitions are not served here: declare events on the functions"),
        "DefinitionUri": Refused("OpenAPI definitions are not served here: declare events on the functions"),
    }
)
SAM_REST_API: Final = Shape(
    {
        "Name": TEXT,
        "Description": TEXT,
        "StageName": TEXT,
        "Cors": ANY,
        "Variables": TEXT_MAP,
        "Tags": TEXT_MAP,
        "PropagateTags": Noted("accepted, without effect"),
        "EndpointConfiguration": Noted("accepted, without effect"),
        "TracingEnabled": Noted("accepted, without effect"),
        "MethodSettings": _NOT_ENFORCED,
        "AccessLogSetting": Noted("accepted, without effect"),
        "OpenApiVersion": Noted("accepted, without effect"),
        "AlwaysDeploy": Noted("accepted, without effect"),
        "CacheClusterEnabled": Noted("accepted, without effect"),
        "CacheClusterSize": Noted("accepted, without effect"),
        "MinimumCompressionSize": Noted("accepted, without effect"),
        "BinaryMediaTypes": Noted("an HTTP API knows binary bodies by their content type"),
        "FailOnWarnings": Noted("accepted, without effect"),
        "MergeDefinitions": Noted("accepted, without effect"),
        "Auth": Shape(
            {
                "Authorizers": _NO_AUTH,
                "DefaultAuthorizer": Refused("authorizers are not served here", (None, "NONE")),
                "ApiKeyRequired": Refused("API keys are not served here"),
                "UsagePlan": Refused("API keys are not served here"),
                "ResourcePolicy": Refused("resource policies of APIs are not served here"),
                "AddDefaultAuthorizerToCorsPreflight": Noted("accepted, without effect"),
                "AddApiKeyRequiredToCorsPreflight": Noted("accepted, without effect"),
                "InvokeRole": _NOT_ENFORCED,
            }
        ),
        "Models": Refused("request validation is not served here"),
        "GatewayResponses": Refused("gateway responses are not served here"),
        "CanarySetting": Refused("canaries are not served here"),
        "Domain": Refused("domains of one's own are not served here"),
        "DefinitionBody": Refused("OpenAPI definitions are not served here: declare events on the functions"),
        "DefinitionUri": Refused("OpenAPI definitions are not served here: declare events on the functions"),
    },
    ("StageName",),
)

SAM_TYPES: Final[Mapping[str, Shape]] = {
    "AWS::Serverless::Function": SAM_FUNCTION,
    "AWS::Serverless::HttpApi": SAM_HTTP_API,
    "AWS::Serverless::Api": SAM_REST_API,
}

_TARGET: Final = Shape(
    {
        "Id": TEXT, "Arn": TEXT, "Input": TEXT, "InputPath": TEXT,
        "InputTransformer": _TRANSFORMER,
        "DeadLetterConfig": _ARN_DEAD_LETTER, "RetryPolicy": _RETRY, "RoleArn": _NOT_ENFORCED,
        "SqsParameters": Shape({"MessageGroupId": TEXT}, ("MessageGroupId",)),
    },
    ("Id", "Arn"),
)  # fmt: skip

TYPES: Final[Mapping[str, Shape]] = {
    "AWS::Lambda::Function": Shape(
        {
            **_FUNCTION_COMMON,
            "Code": Either(
                Shape(
                    {
                        "ZipFile": TEXT, "S3Bucket": TEXT, "S3Key": TEXT, "S3ObjectVersion": TEXT,
                        "ImageUri": _NO_IMAGES, "SourceKMSKeyArn": _NOT_ENFORCED,
                    }
                )
            ),
            "Tags": TAG_LIST,
            "DeadLetterConfig": _DEAD_LETTER,
            "TracingConfig": Noted("accepted, without effect"),
        },
        ("Code",),
    ),
    "AWS::Lambda::Alias": Shape(
        {
            "FunctionName": TEXT, "FunctionVersion": TEXT, "Name": TEXT, "Description": TEXT,
            "RoutingConfig": Shape(
                {
                    "AdditionalVersionWeights": ListOf(
                        Shape({"FunctionVersion": TEXT, "FunctionWeight": TEXT}, ("FunctionVersion", "FunctionWeight"))
                    )
                }
            ),
            "ProvisionedConcurrencyConfig": Noted("accepted, without effect"),
        },
        ("FunctionName", "FunctionVersion", "Name"),
    ),
    "AWS::Lambda::Version": Shape(
        {
            "FunctionName": TEXT, "Description": TEXT, "CodeSha256": TEXT,
            "ProvisionedConcurrencyConfig": Noted("accepted, without effect"),
            "RuntimePolicy": Noted("accepted, without effect"),
        },
        ("FunctionName",),
    ),
    "AWS::Lambda::Url": Shape(
        {
            "TargetFunctionArn": TEXT, "AuthType": TEXT, "Qualifier": TEXT, "InvokeMode": TEXT,
            "Cors": CORS.shape,
        },
        ("TargetFunctionArn", "AuthType"),
    ),
    "AWS::Lambda::EventInvokeConfig": Shape(
        {
            **EVENT_INVOKE, "FunctionName": TEXT, "Qualifier": TEXT,
            "DestinationConfig": Shape({"OnSuccess": _DESTINATION, "OnFailure": _DESTINATION}),
        },
        ("FunctionName", "Qualifier"),
    ),
    "AWS::Lambda::EventSourceMapping": Shape(
        {
            "EventSourceArn": TEXT, "FunctionName": TEXT, "BatchSize": INTEGER, "Enabled": BOOLEAN,
            "FilterCriteria": _FILTERS, "FunctionResponseTypes": TEXTS, "MaximumBatchingWindowInSeconds": INTEGER,
            "ScalingConfig": Shape({"MaximumConcurrency": INTEGER}),
            "BisectBatchOnFunctionError": BOOLEAN, "MaximumRetryAttempts": INTEGER,
            "MaximumRecordAgeInSeconds": INTEGER, "ParallelizationFactor": INTEGER, "StartingPosition": TEXT,
            "StartingPositionTimestamp": INTEGER, "TumblingWindowInSeconds": INTEGER,
            "DestinationConfig": Shape({"OnSuccess": _DESTINATION, "OnFailure": _DESTINATION}),
            "Tags": TAG_LIST, "KmsKeyArn": _NOT_ENFORCED, "MetricsConfig": Noted("accepted, without effect"),
            "LoggingConfig": Noted("accepted, without effect"),
            "ProvisionedPollerConfig": Noted("accepted, without effect"),
            "Queues": Refused("Amazon MQ is not served here"), "Topics": Refused("Kafka is not served here"),
            "SelfManagedEventSource": Refused("Kafka is not served here"),
            "SelfManagedKafkaEventSourceConfig": Refused("Kafka is not served here"),
            "AmazonManagedKafkaEventSourceConfig": Refused("Kafka is not served here"),
            "DocumentDBEventSourceConfig": Refused("DocumentDB is not served here"),
            "SourceAccessConfigurations": Refused("brokers with access configurations are not served here"),
        },
        ("EventSourceArn", "FunctionName"),
    ),
    "AWS::SQS::Queue": Shape(
        {
            "QueueName": TEXT, "FifoQueue": BOOLEAN, "ContentBasedDeduplication": BOOLEAN,
            "DeduplicationScope": TEXT, "FifoThroughputLimit": TEXT, "DelaySeconds": INTEGER,
            "MaximumMessageSize": INTEGER, "MessageRetentionPeriod": INTEGER,
            "ReceiveMessageWaitTimeSeconds": INTEGER, "VisibilityTimeout": INTEGER,
            "RedrivePolicy": ANY, "RedriveAllowPolicy": ANY, "Tags": TAG_LIST,
            "KmsMasterKeyId": _NOT_ENFORCED, "KmsDataKeyReusePeriodSeconds": _NOT_ENFORCED,
            "SqsManagedSseEnabled": _NOT_ENFORCED,
        }
    ),
    "AWS::Scheduler::Schedule": Shape(
        {
            "Name": TEXT, "GroupName": TEXT, "Description": TEXT, "ScheduleExpression": TEXT,
            "ScheduleExpressionTimezone": TEXT, "StartDate": TEXT, "EndDate": TEXT, "State": TEXT,
            "FlexibleTimeWindow": Shape({"Mode": TEXT, "MaximumWindowInMinutes": INTEGER}, ("Mode",)),
            "KmsKeyArn": _NOT_ENFORCED,
            "ActionAfterCompletion": TEXT,
            "Target": Shape(
                {
                    "Arn": TEXT, "RoleArn": _NOT_ENFORCED, "Input": TEXT, "DeadLetterConfig": _ARN_DEAD_LETTER,
                    "RetryPolicy": _RETRY, "SqsParameters": Shape({"MessageGroupId": TEXT}, ("MessageGroupId",)),
                },
                ("Arn",),
            ),
        },
        ("ScheduleExpression", "FlexibleTimeWindow", "Target"),
    ),
    "AWS::Scheduler::ScheduleGroup": Shape({"Name": TEXT, "Tags": TAG_LIST}),
    "AWS::Events::Rule": Shape(
        {
            "Name": TEXT, "Description": TEXT, "ScheduleExpression": TEXT, "State": TEXT, "Targets": ListOf(_TARGET),
            "EventBusName": Refused("event buses are not served here", (None, "default")),
            "EventPattern": JSON_TEXT, "RoleArn": _NOT_ENFORCED, "Tags": TAG_LIST,
        },
    ),
    "AWS::ApiGatewayV2::Api": Shape(
        {
            "Name": TEXT, "ProtocolType": TEXT, "Description": TEXT, "RouteSelectionExpression": TEXT,
            "CorsConfiguration": CORS.shape, "DisableExecuteApiEndpoint": BOOLEAN, "Tags": TEXT_MAP,
            "Version": TEXT, "Target": TEXT, "RouteKey": TEXT, "CredentialsArn": _NOT_ENFORCED,
            "ApiKeySelectionExpression": Noted("accepted, without effect"),
            "DisableSchemaValidation": Noted("accepted, without effect"),
            "IpAddressType": Noted("accepted, without effect"),
            "FailOnWarnings": Noted("accepted, without effect"),
            "Body": Refused("OpenAPI definitions are not served here"),
            "BodyS3Location": Refused("OpenAPI definitions are not served here"),
        },
        ("Name", "ProtocolType"),
    ),
    "AWS::ApiGatewayV2::Integration": Shape(
        {
            "ApiId": TEXT, "IntegrationType": TEXT, "IntegrationUri": TEXT, "IntegrationMethod": TEXT,
            "PayloadFormatVersion": TEXT, "TimeoutInMillis": INTEGER, "Description": TEXT,
            "CredentialsArn": _NOT_ENFORCED, "ConnectionType": TEXT,
            "RequestParameters": Refused("parameter mapping is not served here"),
            "RequestTemplates": Refused("mapping templates are not served here"),
            "ResponseParameters": Refused("parameter mapping is not served here"),
            "PassthroughBehavior": Noted("accepted, without effect"),
            "ContentHandlingStrategy": Noted("accepted, without effect"),
        },
        ("ApiId", "IntegrationType"),
    ),
    "AWS::ApiGatewayV2::Route": Shape(
        {
            "ApiId": TEXT, "RouteKey": TEXT, "Target": TEXT, "OperationName": TEXT,
            "AuthorizationType": Refused("authorizers are not served here", (None, "NONE")),
            "AuthorizerId": _NO_AUTH, "AuthorizationScopes": _NO_AUTH, "ApiKeyRequired": _NO_AUTH,
            "RouteResponseSelectionExpression": TEXT, "ModelSelectionExpression": Noted("accepted, without effect"),
            "RequestModels": Refused("request validation is not served here"),
            "RequestParameters": Refused("request validation is not served here"),
        },
        ("ApiId", "RouteKey"),
    ),
    "AWS::ApiGatewayV2::Stage": Shape(
        {
            "ApiId": TEXT, "StageName": TEXT, "AutoDeploy": BOOLEAN, "Description": TEXT, "StageVariables": TEXT_MAP,
            "DeploymentId": TEXT, "Tags": TEXT_MAP, "AccessLogSettings": Noted("accepted, without effect"),
            "DefaultRouteSettings": _NOT_ENFORCED, "RouteSettings": _NOT_ENFORCED,
            "ClientCertificateId": _NOT_ENFORCED,
        },
        ("ApiId", "StageName"),
    ),
    "AWS::ApiGatewayV2::Deployment": Shape(
        {"ApiId": TEXT, "Description": TEXT, "StageName": Noted("accepted; stages deploy by themselves")}, ("ApiId",)
    ),
}  # fmt: skip

NOTED_TYPES: Final[Mapping[str, str]] = {
    "AWS::IAM::Role": "accepted, not enforced",
    "AWS::IAM::Policy": "accepted, not enforced",
    "AWS::IAM::ManagedPolicy": "accepted, not enforced",
    "AWS::Lambda::Permission": "accepted, not enforced",
    "AWS::SQS::QueuePolicy": "accepted, not enforced",
    "AWS::Logs::LogGroup": "accepted; log groups come by themselves, and --log-retention-days says how long they stay",
}
"""Types that ask for nothing that is done here: they are said in the plan, and what refers to them gets a name."""

REFUSED_TYPES: Final[Mapping[str, str]] = {
    "AWS::Serverless::SimpleTable": "tables are not served here",
    "AWS::DynamoDB::Table": "tables are not served here",
    "AWS::Serverless::LayerVersion": _NO_LAYERS.reason,
    "AWS::Lambda::LayerVersion": _NO_LAYERS.reason,
    "AWS::Serverless::Application": "nested applications are not served here: deploy each by itself",
    "AWS::CloudFormation::Stack": "nested stacks are not served here: deploy each by itself",
    "AWS::Serverless::StateMachine": "state machines are not served here",
    "AWS::Serverless::GraphQLApi": "GraphQL APIs are not served here",
    "AWS::S3::Bucket": "buckets are not served here",
    "AWS::SNS::Topic": "topics are not served here",
}

REFUSED_EVENTS: Final[Mapping[str, str]] = {
    "S3": "buckets are not served here",
    "SNS": "topics are not served here",
    "DynamoDB": "tables are not served here",
    "Kinesis": "Kinesis is not served here; a Redis stream is, by AWS::Lambda::EventSourceMapping",
}

GLOBALS: Final[Mapping[str, str]] = {
    "Function": "AWS::Serverless::Function",
    "HttpApi": "AWS::Serverless::HttpApi",
    "Api": "AWS::Serverless::Api",
}
