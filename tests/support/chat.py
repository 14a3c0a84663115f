"""A chat: one function behind a WebSocket API, which answers, refuses, and reaches one client for another."""

from __future__ import annotations

from typing import Any

CHAT = """
import json, os, urllib.request
from urllib.parse import quote

def post(connection, text):
    url = f"{os.environ['AWS_ENDPOINT_URL']}/@connections/{quote(connection, safe='')}"
    urllib.request.urlopen(urllib.request.Request(url, data=text.encode(), method="POST"), timeout=10).close()

def handler(event, context):
    about = event["requestContext"]
    print("SEEN", about["eventType"], about["connectionId"], about.get("disconnectStatusCode", ""))
    if about["eventType"] == "CONNECT" and (event.get("queryStringParameters") or {}).get("name") == "eve":
        return {"statusCode": 403, "body": "not you"}
    if about["eventType"] == "MESSAGE":
        said = json.loads(event["body"])
        if said["action"] == "who":
            return {"statusCode": 200, "body": about["connectionId"]}
        post(said["to"], said["text"])
    return {"statusCode": 200}
"""


def chat_api(client: Any, function: str) -> str:
    """Make the chat's API, on the stage `live`; `who` is answered on its own connection."""
    selection = "$request.body.action"
    api = str(client.create_api(Name="chat", ProtocolType="WEBSOCKET", RouteSelectionExpression=selection)["ApiId"])
    uri = f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
    made = client.create_integration(ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=uri)
    target = f"integrations/{made['IntegrationId']}"
    for key in ("$connect", "$disconnect", "$default"):
        client.create_route(ApiId=api, RouteKey=key, Target=target)
    who = client.create_route(ApiId=api, RouteKey="who", Target=target, RouteResponseSelectionExpression="$default")
    client.create_route_response(ApiId=api, RouteId=who["RouteId"], RouteResponseKey="$default")
    client.create_stage(ApiId=api, StageName="live", AutoDeploy=True)
    return api
