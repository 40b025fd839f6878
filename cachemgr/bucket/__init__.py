"""The S3 client behind checkpoints: aiobotocore signs, lists, copies and controls multipart uploads; large bytes move
through the data plane. Nothing here follows a redirect, trusts a 200 for what it says, or takes a condition, a checksum
or an answer for granted. The library behind it is imported when a bucket is first opened.
"""
